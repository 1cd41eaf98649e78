/* The update of TDAC for small MLPs, without autograd: running statistics, and the equations.

   Row-major float32 arrays, one row a state. Everything points into the memory of torch's tensors
   and numpy's arrays: nothing is kept here. `KernelLearner` in learner.py calls these functions in
   the order of the text. */

#include "network.c" /* in one unit: small updates take 4 % less time than linked from two */

int64_t source_checksum = SOURCE_CHECKSUM; /* hatch_build.py passes it */
int64_t structure_sizes[4] = {sizeof(Batch), sizeof(Layer), sizeof(Network), sizeof(Parameter)};

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
