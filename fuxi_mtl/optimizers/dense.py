"""Updates of dense variables by Keras's rules and TensorFlow's kernels: one operation a variable, or a few.

Keras computes a step anew for each variable, powers of the decays included: forty operations for one of
Adam, which are most of a traced training step, and of a step itself where batches are small. Here what all
variables have in common is computed once. Slots are Keras's own and so is everything around the update:
schedules, clipping, accumulation of gradients, moving averages, replicas.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

Optimizer: TypeAlias = keras.optimizers.Optimizer
Numbers: TypeAlias = tuple[tf.Tensor, ...]  # scalars that all variables have in common, the rate first


class Update(NamedTuple):
    """The step of one optimizer.

    Attributes:
        common: ``common(optimizer, rate)``: the numbers.
        move: ``move(optimizer, index, variable, gradient, numbers)``: moves a variable and its slots.
        is_for: Whether an optimizer, as it is set, takes this step.
    """

    common: Callable[[Any, tf.Tensor], Numbers]
    move: Callable[[Any, int, tf.Variable, tf.Tensor, Numbers], None]
    is_for: Callable[[Any], bool] = lambda _: True


def by_few_operations(optimizer: Optimizer) -> None:
    """Has an optimizer of Keras move variables as :data:`UPDATES` does, if it is one of these.

    Equal to Keras's own update to the last bit. But TensorFlow's kernel of Adam has the decays in float32
    throughout: 0.999 is 0.99900001. Keras has them so in the correction of the bias, and in float64 in the
    share of a new gradient, which is 1.3e-5 more of a square at 0.999. And its kernel of FTRL takes a root
    where Keras has a power of 1/2, which graphs make a root of.

    Subclasses keep their own update, and so do variables that are not float32 and gradients that are
    `tf.IndexedSlices`.

    >>> import keras
    >>> import tensorflow as tf
    >>> from fuxi_mtl.optimizers import by_few_operations
    >>> optimizer, kernel = keras.optimizers.SGD(0.5), keras.Variable([1.0, 2.0])
    >>> by_few_operations(optimizer)
    >>> _ = optimizer.apply_gradients([(tf.constant([2.0, 0.0]), kernel)])
    >>> kernel.numpy().tolist()
    [0.0, 2.0]
    """
    update = UPDATES.get(type(optimizer))
    if update is None or not update.is_for(optimizer) or "update_step" in vars(optimizer):
        return
    all_of_keras, one_of_keras = optimizer._backend_update_step, optimizer.update_step

    def update_all(gradients: Any, variables: Any, rate: Any) -> None:
        rate = tf.cast(tf.convert_to_tensor(rate), tf.float32)
        decay = tf.constant(optimizer.weight_decay or 0.0)
        all_of_keras(gradients, variables, (decay, *update.common(optimizer, rate)))

    def update_one(gradient: Any, variable: tf.Variable, numbers: Numbers) -> None:
        decay, *others = numbers
        rate = others[0]
        if optimizer.weight_decay is not None and optimizer._use_weight_decay(variable):
            variable.assign_sub(variable * tf.cast(decay, variable.dtype) * tf.cast(rate, variable.dtype))
        if isinstance(gradient, tf.IndexedSlices) or variable.dtype != tf.float32:
            one_of_keras(gradient, variable, rate)
            return
        gradient, index = tf.cast(gradient, tf.float32), optimizer._get_variable_index(variable)
        update.move(optimizer, index, variable, gradient, tuple(others))

    optimizer._backend_update_step, optimizer.update_step = update_all, update_one
    optimizer._apply_weight_decay = lambda variables: None  # noqa: ARG005 - with the update of each


def _step_number(optimizer: Any, ahead: int = 1) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(optimizer.iterations) + ahead, tf.float32)


def _adam_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    step = _step_number(optimizer)
    first, second = tf.constant(optimizer.beta_1), tf.constant(optimizer.beta_2)
    epsilon = tf.constant(optimizer.epsilon)
    return rate, first, second, tf.pow(first, step), tf.pow(second, step), epsilon


def _adam(optimizer: Any, index: int, variable: Any, gradient: tf.Tensor, numbers: Numbers) -> None:
    rate, first, second, first_power, second_power, epsilon = numbers
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        beta1_power=first_power,
        beta2_power=second_power,
        lr=rate,
        beta1=first,
        beta2=second,
        epsilon=epsilon,
        grad=gradient,
    )


def _nadam_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    step, next_step = _step_number(optimizer), _step_number(optimizer, 2)
    first, second = tf.constant(optimizer.beta_1), tf.constant(optimizer.beta_2)
    now = first * (1.0 - 0.5 * tf.pow(0.96, step))
    coming = first * (1.0 - 0.5 * tf.pow(0.96, next_step))
    # Keras multiplies the product of the decays by that of this step a moment later, in this order.
    product = tf.convert_to_tensor(optimizer._u_product) * first * (1.0 - 0.5 * tf.pow(0.96, step))
    shares = (1 - first, 1 - second, coming, 1 - product * coming, 1 - now, 1 - product)
    return rate, *shares, 1 - tf.pow(second, step), tf.constant(optimizer.epsilon)


def _nadam(optimizer: Any, index: int, variable: Any, gradient: tf.Tensor, numbers: Numbers) -> None:
    rate, first, second, coming, with_coming, now, with_now, known, epsilon = numbers
    momentum, velocity = optimizer._momentums[index].value, optimizer._velocities[index].value
    momentum.assign_add((gradient - momentum) * first)
    velocity.assign_add((tf.square(gradient) - velocity) * second)
    ahead = coming * momentum / with_coming + now * gradient / with_now
    variable.assign_sub(ahead * rate / (tf.sqrt(velocity / known) + epsilon))


def _sgd_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    return rate, tf.constant(float(optimizer.momentum))


def _sgd(optimizer: Any, index: int, variable: Any, gradient: tf.Tensor, numbers: Numbers) -> None:
    rate, momentum = numbers
    if not optimizer.momentum:
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
        return
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=optimizer.momentums[index].value.handle,
        lr=rate,
        grad=gradient,
        momentum=momentum,
        use_nesterov=optimizer.nesterov,
    )


def _adagrad_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    return rate, tf.constant(optimizer.epsilon)


def _adagrad(
    optimizer: Any, index: int, variable: tf.Variable, gradient: tf.Tensor, numbers: Numbers
) -> None:
    rate, epsilon = numbers
    accumulator = optimizer._accumulators[index].value
    accumulator.assign_add(tf.square(gradient))
    variable.assign_sub(rate * gradient / tf.sqrt(accumulator + epsilon))


def _rmsprop_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    return rate, tf.constant(optimizer.rho), tf.constant(1 - optimizer.rho), tf.constant(optimizer.epsilon)


def _rmsprop(
    optimizer: Any, index: int, variable: tf.Variable, gradient: tf.Tensor, numbers: Numbers
) -> None:
    rate, kept, new, epsilon = numbers
    velocity = optimizer._velocities[index].value
    moved = kept * velocity + new * tf.square(gradient)
    velocity.assign(moved)
    variable.assign_sub(rate * gradient / tf.sqrt(moved + epsilon))


def _lion_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    first, second = tf.constant(optimizer.beta_1), tf.constant(optimizer.beta_2)
    return rate, first, 1.0 - first, second, 1.0 - second


def _lion(optimizer: Any, index: int, variable: Any, gradient: tf.Tensor, numbers: Numbers) -> None:
    rate, first, first_new, second, second_new = numbers
    momentum = optimizer._momentums[index].value
    before = tf.convert_to_tensor(momentum)
    variable.assign_sub(rate * tf.sign(before * first + gradient * first_new))
    momentum.assign(before * second + gradient * second_new)


def _ftrl_numbers(optimizer: Any, rate: tf.Tensor) -> Numbers:
    l2 = optimizer.l2_regularization_strength + optimizer.beta / (2.0 * rate)
    others = (
        optimizer.l1_regularization_strength,
        optimizer.l2_shrinkage_regularization_strength,
        optimizer.learning_rate_power,
    )
    return rate, l2, *(tf.constant(float(each)) for each in others)


def _ftrl(optimizer: Any, index: int, variable: Any, gradient: tf.Tensor, numbers: Numbers) -> None:
    rate, l2, l1, shrinkage, power = numbers
    tf.raw_ops.ResourceApplyFtrlV2(
        var=variable.handle,
        accum=optimizer._accumulators[index].value.handle,
        linear=optimizer._linears[index].value.handle,
        grad=gradient,
        lr=rate,
        l1=l1,
        l2=l2,
        l2_shrinkage=shrinkage,
        lr_power=power,
    )


_ADAM = Update(_adam_numbers, _adam, lambda optimizer: not optimizer.amsgrad)

UPDATES: dict[type, Update] = {
    keras.optimizers.Adam: _ADAM,
    keras.optimizers.AdamW: _ADAM,
    keras.optimizers.Nadam: Update(_nadam_numbers, _nadam),
    keras.optimizers.SGD: Update(_sgd_numbers, _sgd),
    keras.optimizers.Adagrad: Update(_adagrad_numbers, _adagrad),
    keras.optimizers.RMSprop: Update(
        _rmsprop_numbers, _rmsprop, lambda optimizer: not (optimizer.momentum or optimizer.centered)
    ),
    keras.optimizers.Lion: Update(_lion_numbers, _lion),
    keras.optimizers.Ftrl: Update(_ftrl_numbers, _ftrl),
}
