/* Networks: their output, the gradient of their parameters, the step of Adam, and copies. Included
   by kernels.c. */

#include "kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* One build that is quick on old and new processors: the loader picks the version. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR
#endif

/* Beyond it tanh is 1, and its exp overflows. A constant would become a branch. */
float tanh_limit = 10.0f;

/* tanh, as Cephes' tanhf: within 1e-7. Choices are arithmetic: a branch would not vectorize. */
static inline float tanh_of(float x) {
    x = x > tanh_limit ? tanh_limit : x;
    x = x < -tanh_limit ? -tanh_limit : x;
    const float size = fabsf(x), square = x * x, z = square > 0.5f ? 0.5f : square;
    const float is_large = (float)(size >= 0.625f);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float small = p * z * x + x;
    const float y = 2.0f * size;
    const int32_t n = (int32_t)(y * 1.44269504f + 0.5f); /* exp(y) = 2^n exp(r) */
    const float r = y - (float)n * 0.693147181f;
    float e = 1.9875691500e-4f;
    e = e * r + 1.3981999507e-3f;
    e = e * r + 8.3334519073e-3f;
    e = e * r + 4.1665795894e-2f;
    e = e * r + 1.6666665459e-1f;
    e = e * r + 5.0000001201e-1f;
    const int32_t bits = (n + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    const float large = 1.0f - 2.0f / ((e * r * r + r + 1.0f) * power + 1.0f);
    return (1.0f - is_large) * small + is_large * copysignf(large, x);
}

/* y[0..n) += sum over k of a[k * stride_a] * w[k * n + 0..n), for all three products of a layer. */
static inline void accumulate(float *restrict y, const float *restrict a, int64_t stride_a,
                              const float *restrict w, int64_t terms, int64_t n) {
    int64_t k = 0;
    for (; k + 8 <= terms; k += 8, w += 8 * n) {
        const float *c = a + k * stride_a;
        const float a0 = c[0], a1 = c[stride_a], a2 = c[2 * stride_a], a3 = c[3 * stride_a];
        c += 4 * stride_a;
        const float a4 = c[0], a5 = c[stride_a], a6 = c[2 * stride_a], a7 = c[3 * stride_a];
        for (int64_t j = 0; j < n; j++)
            y[j] += a0 * w[j] + a1 * w[n + j] + a2 * w[2 * n + j] + a3 * w[3 * n + j] +
                    a4 * w[4 * n + j] + a5 * w[5 * n + j] + a6 * w[6 * n + j] + a7 * w[7 * n + j];
    }
    for (; k < terms; k++, w += n) {
        const float ak = a[k * stride_a];
        for (int64_t j = 0; j < n; j++) y[j] += ak * w[j];
    }
}

static inline float dot(const float *a, const float *b, int64_t n) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

VECTOR static void layer_forward(const Layer *layer, const float *x, int64_t rows, float *scratch) {
    const int64_t in = layer->inputs, out = layer->outputs;
    const float *weight = layer->weight->value, *bias = layer->bias->value;
    float *y = layer->output;
    if (rows < 4) {
        for (int64_t n = 0; n < rows; n++)
            for (int64_t o = 0; o < out; o++)
                y[n * out + o] = bias[o] + dot(x + n * in, weight + o * in, in);
    } else { /* transposed, so that the inner loop is over outputs */
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i < in; i++) scratch[i * out + o] = weight[o * in + i];
        for (int64_t n = 0; n < rows; n++) {
            memcpy(y + n * out, bias, out * sizeof(float));
            accumulate(y + n * out, x + n * in, 1, scratch, in, out);
        }
    }
    if (layer->activation == TANH)
        for (int64_t i = 0; i < rows * out; i++) y[i] = tanh_of(y[i]);
    else if (layer->activation == RELU)
        for (int64_t i = 0; i < rows * out; i++) y[i] = y[i] < 0.0f ? 0.0f : y[i]; /* NaN stays */
}

/* From the error of the layer's output, the gradient of its parameters and the error below. */
VECTOR static void layer_backward(const Layer *layer, const float *x, int64_t rows, float *below) {
    const int64_t in = layer->inputs, out = layer->outputs;
    float *into_weight = layer->weight->gradient, *into_bias = layer->bias->gradient;
    float *restrict error = layer->error;
    const float *restrict y = layer->output;
    if (layer->activation == TANH)
        for (int64_t i = 0; i < rows * out; i++) error[i] *= 1.0f - y[i] * y[i];
    else if (layer->activation == RELU)
        for (int64_t i = 0; i < rows * out; i++) error[i] = y[i] > 0.0f ? error[i] : 0.0f;
    memset(into_weight, 0, out * in * sizeof(float));
    memset(into_bias, 0, out * sizeof(float));
    for (int64_t o = 0; o < out; o++)
        accumulate(into_weight + o * in, error + o, out, x, rows, in);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t o = 0; o < out; o++) into_bias[o] += error[n * out + o];
    if (below != NULL)
        for (int64_t n = 0; n < rows; n++)
            accumulate(below + n * in, error + n * out, 1, layer->weight->value, out, in);
}

void forward(const Network *network, const float *states, int64_t rows) {
    const float *x = states;
    for (int64_t l = 0; l < network->n_layers; l++) {
        layer_forward(&network->layers[l], x, rows, network->scratch);
        if (l < network->n_hidden) x = network->layers[l].output;
    }
}

/* After `forward`, and with the errors of the heads set. */
static void backward(const Network *network, const float *states, int64_t rows) {
    for (int64_t l = 0; l < network->n_hidden; l++)
        memset(network->layers[l].error, 0, rows * network->layers[l].outputs * sizeof(float));
    for (int64_t l = network->n_layers - 1; l >= 0; l--) {
        const int64_t below = l < network->n_hidden ? l - 1 : network->n_hidden - 1;
        const float *x = below < 0 ? states : network->layers[below].output;
        layer_backward(&network->layers[l], x, rows, below < 0 ? NULL : network->layers[below].error);
    }
}

VECTOR static double square_sum(const float *a, int64_t size) {
    return dot(a, a, size);
}

double squared_gradient_norm(const Network *network) {
    double sum = 0.0;
    for (int64_t p = 0; p < network->n_parameters; p++)
        sum += square_sum(network->parameters[p].gradient, network->parameters[p].size);
    return sum;
}

void scale_gradient(const Network *network, double factor) {
    for (int64_t p = 0; p < network->n_parameters; p++)
        for (int64_t i = 0; i < network->parameters[p].size; i++)
            network->parameters[p].gradient[i] *= (float)factor;
}

/* `fresh` is 1 - beta of a double: of a float it would be off by 1e-5 for 0.999, more above. */
VECTOR static void adam_parameter(const Parameter *parameter, float beta1, float fresh1, float beta2,
                                  float fresh2, float rate, float correction, float eps) {
    float *restrict value = parameter->value, *restrict mean = parameter->mean;
    float *restrict square = parameter->square;
    const float *restrict g = parameter->gradient;
    for (int64_t i = 0; i < parameter->size; i++) {
        mean[i] = beta1 * mean[i] + fresh1 * g[i];
        square[i] = beta2 * square[i] + fresh2 * g[i] * g[i];
        value[i] -= rate * mean[i] / (sqrtf(square[i]) * correction + eps);
    }
}

/* torch.optim.Adam (Kingma and Ba, 2015, algorithm 1). */
void adam(const Network *network, double learning_rate, double beta1, double beta2, double eps) {
    for (int64_t p = 0; p < network->n_parameters; p++) {
        const Parameter *parameter = &network->parameters[p];
        const double steps = *parameter->steps += 1.0f;
        const double rate = learning_rate / (1.0 - pow(beta1, steps));
        const double correction = 1.0 / sqrt(1.0 - pow(beta2, steps));
        adam_parameter(parameter, (float)beta1, (float)(1.0 - beta1), (float)beta2,
                       (float)(1.0 - beta2), (float)rate, (float)correction, (float)eps);
    }
}

/* ---- the way back from a failed update ---- */

VECTOR static int64_t are_finite(const float *numbers, int64_t size) {
    int32_t outside = 0;
    for (int64_t i = 0; i < size; i++) outside |= !(fabsf(numbers[i]) <= FLT_MAX);
    return !outside;
}

/* Whether the parameters are finite. Adam's state is finite after gradients of a finite norm. */
int64_t is_finite(const Network *network) {
    for (int64_t p = 0; p < network->n_parameters; p++)
        if (!are_finite(network->parameters[p].value, network->parameters[p].size))
            return 0;
    return 1;
}

static float *copy_array(float *array, float *copy, int64_t size, int64_t back) {
    if (back) memcpy(array, copy, size * sizeof(float));
    else memcpy(copy, array, size * sizeof(float));
    return copy + size;
}

/* Copy the parameters and the state of Adam to `copy`, or back. */
void copy_state(const Network *network, float *copy, int64_t back) {
    for (int64_t p = 0; p < network->n_parameters; p++) {
        const Parameter *at = &network->parameters[p];
        copy = copy_array(at->value, copy, at->size, back);
        if (at->steps != NULL) {
            copy = copy_array(at->mean, copy, at->size, back);
            copy = copy_array(at->square, copy, at->size, back);
            copy = copy_array(at->steps, copy, 1, back);
        }
    }
}
