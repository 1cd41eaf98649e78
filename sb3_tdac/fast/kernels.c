/* The update of TDAC for small MLPs, without autograd. Row-major float32 arrays, one row a state.

   Everything points into the memory of torch's tensors and numpy's arrays: nothing is kept here.
   `KernelLearner` in learner.py calls these functions in the order of the text. */

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

int64_t header_checksum = HEADER_CHECKSUM; /* hatch_build.py passes it */
int64_t structure_sizes[4] = {sizeof(Batch), sizeof(Layer), sizeof(Network), sizeof(Parameter)};

/* ---- networks ---- */

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

/* ---- running statistics ---- */

/* Shift and divide rows by mean and std, and clip. */
void normalize(const float *rows, int64_t n, int64_t width, const float *mean, const float *var,
               float epsilon, float clip, float *normalized) {
    for (int64_t j = 0; j < width; j++) {
        const float std = sqrtf(var[j] + epsilon);
        for (int64_t i = 0; i < n; i++) {
            float x = (rows[i * width + j] - mean[j]) / std;
            x = x > clip ? clip : x;
            normalized[i * width + j] = x < -clip ? -clip : x;
        }
    }
}

/* The parallel form of Chan, Golub and LeVeque (1979), as update_moments in normalization.py. */
void update_moments(const float *rows, int64_t n, int64_t width, float *mean, float *var,
                    float *count, double memory) {
    const double total = (double)*count + (double)n, weight = n / total;
    for (int64_t j = 0; j < width; j++) {
        double sum = 0.0, within = 0.0;
        for (int64_t i = 0; i < n; i++) sum += rows[i * width + j];
        for (int64_t i = 0; i < n; i++) {
            const double distance = rows[i * width + j] - sum / n;
            within += distance * distance / n;
        }
        const double delta = sum / n - mean[j];
        var[j] += (float)(weight * (within - var[j] + delta * delta * (*count / total)));
        mean[j] += (float)(weight * delta);
    }
    *count = (float)(total < memory ? total : memory);
}

/* ---- the algorithm ---- */

/* (4.19): V(x) and its target; the outputs of the critic stay for `backward`. */
void value_and_target(const Network *critic, Batch *batch, double gamma) {
    forward(critic, batch->states, batch->rows);
    const float *values = critic->layers[critic->n_layers - 1].output;
    for (int64_t i = 0; i < batch->size; i++) {
        const float next_value = batch->terminated[i] ? 0.0f : values[batch->successor[i]];
        batch->value[i] = values[i];
        batch->target[i] = batch->reward[i] + (float)gamma * next_value;
    }
}

/* Gradient of (4.20). By V(x) it is minus the TD error; the residual gradient adds gamma times the
   TD error by V(x'). `scale` is 1 for the sum and 1 / B for the mean. */
void critic_gradient(const Network *critic, Batch *batch, double gamma, double scale,
                     int64_t residual) {
    value_and_target(critic, batch, gamma);
    float *error = critic->layers[critic->n_layers - 1].error;
    const int64_t rows = residual ? batch->rows : batch->size;
    memset(error, 0, rows * sizeof(float));
    for (int64_t i = 0; i < batch->size; i++) {
        const float td_error = (float)scale * (batch->target[i] - batch->value[i]);
        error[i] -= td_error;
        if (residual && !batch->terminated[i])
            error[batch->successor[i]] += (float)gamma * td_error;
    }
    backward(critic, batch->states, rows);
}

/* (4.21) from `value` and `target`, then scaled, normalized and discounted as the options say. */
void advantage(Batch *batch, double gamma, int64_t scale, double decay, double epsilon,
               float *mean_square, float *weight, int64_t normalized, int64_t discount) {
    const int64_t n = batch->size;
    float *a = batch->advantage;
    double divisor = 1.0, mean = 0.0, square = 0.0;
    for (int64_t i = 0; i < n; i++) {
        a[i] = batch->target[i] - batch->value[i];
        square += (double)a[i] * a[i] / n;
    }
    if (scale) {
        *mean_square += (float)((1.0 - decay) * (square - *mean_square));
        *weight += (float)((1.0 - decay) * (1.0 - *weight));
        divisor = sqrt((double)*mean_square / *weight) + epsilon;
    }
    for (int64_t i = 0; i < n; i++) a[i] = (float)(a[i] / divisor);
    if (normalized) {
        double deviation = 0.0;
        for (int64_t i = 0; i < n; i++) mean += a[i] / (double)n;
        for (int64_t i = 0; i < n; i++) deviation += (a[i] - mean) * (a[i] - mean) / (n - 1.0);
        for (int64_t i = 0; i < n; i++) a[i] = (float)((a[i] - mean) / (sqrt(deviation) + 1e-8));
    }
    if (discount) /* (4.6) */
        for (int64_t i = 0; i < n; i++) a[i] *= (float)pow(gamma, (double)batch->elapsed_steps[i]);
}

/* Replace the outputs of the heads by mean and std of (4.24); `slope`: derivative of softplus.
   The std is rounded where torch rounds it: std_init may lie on a bound, and there the last bit
   decides whether the std has a slope. */
static void mean_and_std(const Network *actor, int64_t rows, int64_t squash, double low, double high,
                         float *slope) {
    Layer *head = &actor->layers[actor->n_hidden];
    for (int64_t i = 0; i < rows * head->outputs; i++) {
        const float x = head[1].output[i], power = (float)exp(x > 20.0f ? 20.0f : x);
        const float std = x > 20.0f ? x : (float)log1p(power);
        const int clamped = std < (float)low || std > (float)high;
        if (squash) head[0].output[i] = tanhf(head[0].output[i]);
        head[1].output[i] = std < (float)low ? (float)low : std > (float)high ? (float)high : std;
        if (slope != NULL) slope[i] = clamped ? 0.0f : x > 20.0f ? 1.0f : power / (1.0f + power);
    }
}

/* Actions u = mu + sigma * noise. */
void sample_gaussian(const Network *actor, const float *states, int64_t rows, int64_t squash,
                     double low, double high, const float *noise, float *action) {
    forward(actor, states, rows);
    mean_and_std(actor, rows, squash, low, high, NULL);
    const Layer *head = &actor->layers[actor->n_hidden];
    for (int64_t i = 0; i < rows * head->outputs; i++)
        action[i] = head[0].output[i] + head[1].output[i] * noise[i];
}

/* Gradient of (4.22) and the entropy bonus. With z = (u - mu) / sigma the derivative of (4.26) by mu
   is z / sigma, by sigma (z^2 - 1) / sigma; that of the entropy by sigma is 1 / sigma. */
void gaussian_gradient(const Network *actor, Batch *batch, double scale, double ent_coef,
                       int64_t squash, double low, double high) {
    forward(actor, batch->states, batch->size);
    Layer *head = &actor->layers[actor->n_hidden];
    mean_and_std(actor, batch->size, squash, low, high, head[1].error);
    for (int64_t i = 0; i < batch->size * head->outputs; i++) {
        const double mean = head[0].output[i], std = head[1].output[i];
        const double a = batch->advantage[i / head->outputs], z = (batch->action[i] - mean) / std;
        const double by_mean = -a * z / std, by_std = -(a * (z * z - 1.0) + ent_coef) / std;
        head[0].error[i] = (float)(scale * by_mean * (squash ? 1.0 - mean * mean : 1.0));
        head[1].error[i] *= (float)(scale * by_std);
    }
    backward(actor, batch->states, batch->size);
}

/* Gradient of (4.22) and the entropy bonus for a categorical policy; its outputs become log p. The
   derivative of log p_u by logit k is 1{k=u} - p_k, that of the entropy H is -p_k (log p_k + H). */
void categorical_gradient(const Network *actor, Batch *batch, double scale, double ent_coef) {
    forward(actor, batch->states, batch->size);
    Layer *head = &actor->layers[actor->n_hidden];
    const int64_t n = head->outputs;
    for (int64_t i = 0; i < batch->size; i++) {
        float *log_prob = head->output + i * n, *error = head->error + i * n;
        double highest = log_prob[0], sum = 0.0, entropy = 0.0;
        for (int64_t k = 1; k < n; k++) highest = log_prob[k] > highest ? log_prob[k] : highest;
        for (int64_t k = 0; k < n; k++) sum += exp(log_prob[k] - highest);
        for (int64_t k = 0; k < n; k++) {
            log_prob[k] = (float)(log_prob[k] - highest - log(sum));
            entropy -= exp(log_prob[k]) * log_prob[k];
        }
        for (int64_t k = 0; k < n; k++) {
            const double p = exp(log_prob[k]), chosen = k == batch->choice[i];
            const double by_logit = -batch->advantage[i] * (chosen - p);
            error[k] = (float)(scale * (by_logit + ent_coef * p * (log_prob[k] + entropy)));
        }
    }
    backward(actor, batch->states, batch->size);
}

/* Divide the rewards of a rollout by the root mean square of recent discounted returns, and clip. */
void normalize_rewards(float *reward, const int64_t *elapsed_steps, int64_t n_steps, int64_t n_envs,
                       double gamma, double *discounted_return, double *mean, double *var,
                       double *count, double memory, double epsilon, double clip) {
    const int64_t size = n_steps * n_envs;
    double batch_mean = 0.0, within = 0.0;
    for (int64_t i = 0; i < size; i++) {
        double *so_far = &discounted_return[i % n_envs];
        *so_far = reward[i] + (elapsed_steps[i] > 0 ? gamma * *so_far : 0.0);
        const double distance = *so_far - batch_mean;
        batch_mean += distance / (i + 1.0); /* Welford (1962) */
        within += distance * (*so_far - batch_mean);
    }
    const double total = *count + size, weight = size / total, delta = batch_mean - *mean;
    *var += weight * (within / size - *var + delta * delta * (*count / total));
    *mean += weight * delta;
    *count = total < memory ? total : memory;
    const double divisor = sqrt(*var + *mean * *mean + epsilon);
    for (int64_t i = 0; i < size; i++) {
        const double scaled = reward[i] / divisor;
        reward[i] = (float)(scaled > clip ? clip : scaled < -clip ? -clip : scaled);
    }
}
