/* Structures and functions of the compiled kernels: nothing else repeats a signature.

   The C files include it; library.py gives cffi all lines that do not start with a '#'. */

#pragma once
#include <stdint.h>

/* Checked when the library is loaded: the CRC-32 of all C files in alphabetical order, and sizeof of
   each structure. Not const, because cffi reads no constants of a library. */
extern int64_t source_checksum, structure_sizes[4];

enum { LINEAR, TANH, RELU };

typedef struct {
    float *value, *gradient, *mean, *square, *steps; /* of Adam: exp_avg, exp_avg_sq, step */
    int64_t size;
} Parameter;

typedef struct {
    int64_t inputs, outputs, activation;
    Parameter *weight, *bias;
    float *output, *error; /* (rows, outputs): output of the layer, gradient of the loss by it */
} Layer;

/* Hidden layers, then heads that all sit on the last hidden layer. */
typedef struct {
    int64_t n_hidden, n_layers, n_parameters;
    Layer *layers;
    Parameter *parameters;
    float *scratch; /* as many floats as the largest weight */
} Network;

/* A batch of B transitions. The first B rows of the states are x. */
typedef struct {
    int64_t size, rows;
    const float *states, *reward, *action;
    const int64_t *successor, *elapsed_steps, *choice; /* choice: the action of a Discrete */
    const uint8_t *terminated;
    float *value, *target, *advantage;
} Batch;

/* ---- network.c ---- */

void forward(const Network *network, const float *states, int64_t rows);
double squared_gradient_norm(const Network *network);
void scale_gradient(const Network *network, double factor);
void adam(const Network *network, double learning_rate, double beta1, double beta2, double eps);
int64_t is_finite(const Network *network);
void copy_state(const Network *network, float *copy, int64_t back);

/* ---- kernels.c ---- */

void normalize(const float *rows, int64_t n, int64_t width, const float *mean, const float *var,
               float epsilon, float clip, float *normalized);
void update_moments(const float *rows, int64_t n, int64_t width, float *mean, float *var,
                    float *count, double memory);
void normalize_rewards(float *reward, const int64_t *elapsed_steps, int64_t n_steps, int64_t n_envs,
                       double gamma, double *discounted_return, double *mean, double *var,
                       double *count, double memory, double epsilon, double clip);

void sample_gaussian(const Network *actor, const float *states, int64_t rows, int64_t squash,
                     double low, double high, const float *noise, float *action);
void value_and_target(const Network *critic, Batch *batch, double gamma);
void critic_gradient(const Network *critic, Batch *batch, double gamma, double scale,
                     int64_t residual);
void advantage(Batch *batch, double gamma, int64_t scale, double decay, double epsilon,
               float *mean_square, float *weight, int64_t normalized, int64_t discount);
void gaussian_gradient(const Network *actor, Batch *batch, double scale, double ent_coef,
                       int64_t squash, double low, double high);
void categorical_gradient(const Network *actor, Batch *batch, double scale, double ent_coef);
