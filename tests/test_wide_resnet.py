"""The networks of the CIFAR10 challenge, their layers, and noise inside networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import models
from orjax.models import conv
from orjax.models import convnet
from orjax.models import noise as noise_lib
from orjax.models import wide_resnet


def _variables(module, shape=(1, 8, 8, 3), seed=0):
  """Random parameters and statistics, drawn by NumPy: the initialisers compile slowly."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
  rng = np.random.default_rng(seed)
  draw = lambda path, x: jnp.asarray(
    (
      rng.uniform(0.5, 2.0, x.shape)
      if path[-1].key in ("scale", "var")
      else rng.normal(size=x.shape) / np.sqrt(max(1, np.prod(x.shape[:-1])))
    ).astype(np.float32)
  )
  return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
  "name, num_parameters", [("resnet32_cifar10", 464_154), ("wide_resnet32_10_cifar10", 45_901_914)]
)
def test_parameter_counts(name, num_parameters):
  classifier = models.build(name)
  variables = jax.eval_shape(classifier.init, jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(variables["params"])) == num_parameters
  names = [path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])]
  assert names.count("kernel") == 32  # 31 convolutions and the dense layer
  assert names.count("scale") == 31 and names.count("bias") == 32


def _reference(variables, images, num_units):
  """The forward pass of `model.py` in plain lax, layer after layer."""
  params, statistics = variables["params"], variables["batch_stats"]
  count = {"Conv": 0, "BatchNorm": 0}

  def following(kind):
    count[kind] += 1
    return f"{kind}_{count[kind] - 1}"

  def norm(x):
    name = following("BatchNorm")
    mean, var = (statistics[name][k][None, None, None] for k in ("mean", "var"))
    scale, bias = (params[name][k][None, None, None] for k in ("scale", "bias"))
    y = (x - mean) / jnp.sqrt(var + 0.001) * scale + bias
    return jnp.where(y < 0, 0.1 * y, y)

  def conv(x, stride):
    return jax.lax.conv_general_dilated(
      x,
      params[following("Conv")]["kernel"],
      (stride, stride),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  x = np.asarray(images, np.float64) * 255
  flat = x.reshape(len(x), -1)
  stddev = np.maximum(flat.std(1), 1 / np.sqrt(flat.shape[1]))
  x = jnp.asarray(
    ((flat - flat.mean(1, keepdims=True)) / stddev[:, None]).reshape(x.shape).astype(np.float32)
  )
  x = conv(x, 1)
  for group in range(3):
    for unit in range(num_units):
      stride = 2 if unit == 0 and group > 0 else 1
      activated = norm(x)
      shortcut = activated if group == unit == 0 else x
      y = conv(norm(conv(activated, stride)), 1)
      if stride == 2:
        n, h, w, c = shortcut.shape
        shortcut = shortcut.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
      half = (y.shape[-1] - shortcut.shape[-1]) // 2
      shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (half, half)))
      x = y + shortcut
  x = norm(x).mean((1, 2))
  return x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]


def test_forward_pass_is_that_of_the_reference():
  module = wide_resnet.WideResNet((4, 4, 8, 16), num_units=2)
  variables = _variables(module)
  images = np.random.default_rng(1).random((3, 8, 8, 3), np.float32)
  np.testing.assert_allclose(
    module.apply(variables, jnp.asarray(images)),
    _reference(variables, images, 2),
    rtol=2e-4,
    atol=2e-4,
  )


def test_statistics_decay_by_a_tenth():
  module = wide_resnet.WideResNet((4, 4, 4, 4), num_units=1)
  variables = _variables(module)
  images = jnp.asarray(np.random.default_rng(1).random((5, 8, 8, 3), np.float32))
  _, updates = module.apply(variables, images, train=True, mutable=["batch_stats"])
  first = jax.lax.conv_general_dilated(
    wide_resnet.standardise(images),
    variables["params"]["Conv_0"]["kernel"],
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  for name, of_batch in (("mean", first.mean((0, 1, 2))), ("var", first.var((0, 1, 2)))):
    old, new = (tree["batch_stats"]["BatchNorm_0"][name] for tree in (variables, updates))
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * of_batch, rtol=1e-4, atol=1e-5)


def test_a_constant_image_has_a_gradient():
  gradient = jax.grad(lambda x: wide_resnet.standardise(x)[0, 0, 0, 0])(jnp.full((1, 4, 4, 3), 0.5))
  assert np.isfinite(gradient).all() and (gradient != 0).any()


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [7, 8, 25])
def test_gradient_of_the_convolution(strides, padding, size):
  rng = np.random.default_rng(0)
  x, kernel = (
    jnp.asarray(rng.normal(size=shape).astype(np.float32))
    for shape in ((2, size, size, 3), (3, 3, 3, 4))
  )
  plain = lambda x, k: jax.lax.conv_general_dilated(
    x, k, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  ours = lambda x, k: conv.conv(x, k, strides, padding)
  out, pull_back = jax.vjp(plain, x, kernel)
  g = jnp.asarray(rng.normal(size=out.shape).astype(np.float32))
  np.testing.assert_array_equal(ours(x, kernel), out)
  for found, wanted in zip(jax.vjp(ours, x, kernel)[1](g), pull_back(g)):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
  with jax.enable_x64(True):
    double = conv.flax_conv(x.astype(jnp.float64), kernel.astype(jnp.float64), strides, padding)
  assert double.dtype == np.float64
  np.testing.assert_allclose(double, out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  "make, num_layers",
  [
    (lambda **kw: wide_resnet.WideResNet((4, 4, 4, 4), num_units=2, **kw), 13),
    (lambda **kw: convnet.ConvNet(features=(4, 4), hidden=4, padding="SAME", **kw), 4),
  ],
)
def test_where_noise_is_added(make, num_layers, monkeypatch):
  added = []
  for networks in (convnet, wide_resnet):
    monkeypatch.setattr(
      networks, "add_noise", lambda x, keys, layer, stddev: added.append((layer, stddev)) or x
    )
  inside = num_layers - num_layers % 2  # but for a convolution before the blocks
  firsts = list(range(num_layers % 2, num_layers, 2))
  for location, wanted in (
    ("every", list(range(num_layers))),
    ("first", firsts),
    ("second", [i + 1 for i in firsts]),
  ):
    module = make(noise_location=location, noise_stddev=3.0)
    variables = _variables(module)
    added.clear()
    module.apply(
      variables, jnp.zeros((2, 8, 8, 3)), noise_keys=jax.random.split(jax.random.key(0), 2)
    )
    assert added == [(layer, 3.0) for layer in wanted]
    assert len(wanted) in (num_layers, inside // 2)
    module.apply(variables, jnp.zeros((2, 8, 8, 3)))
    assert len(added) == len(wanted)
    stddevs = jnp.ones(2)  # of each row, in place of the network's own
    module.apply(
      variables,
      jnp.zeros((2, 8, 8, 3)),
      noise_keys=jax.random.split(jax.random.key(0), 2),
      noise_stddevs=stddevs,
    )
    assert [stddev is stddevs for _, stddev in added[len(wanted) :]] == [True] * len(wanted)


def test_noise_of_a_row_is_its_key_s():
  keys = jax.random.split(jax.random.key(0), 300)
  noise = np.asarray(noise_lib.add_noise(jnp.zeros((300, 5, 5, 2)), keys, 3, 2.0))
  assert abs(noise.std() - 2) < 0.05 and abs(noise.mean()) < 0.05
  np.testing.assert_array_equal(
    noise[7:9], noise_lib.add_noise(jnp.zeros((2, 5, 5, 2)), keys[7:9], 3, 2.0)
  )
  other = noise_lib.add_noise(jnp.zeros((300, 5, 5, 2)), keys, 4, 2.0)
  assert abs(np.corrcoef(noise.ravel(), np.ravel(other))[0, 1]) < 0.05


def test_noise_at_test_time_comes_from_the_keys():
  noisy = models.build("convnet_digits", noise_location="second", noise_stddev=0.5)
  plain = models.build("convnet_digits")
  variables = _variables(convnet.digits(), (1, 8, 8, 1))
  images = jnp.asarray(np.random.default_rng(0).random((4, 8, 8, 1), np.float32))
  keys = jax.random.split(jax.random.key(0), 4)
  one = noisy.apply_noisy(variables, keys, images)
  np.testing.assert_array_equal(one, noisy.apply_noisy(variables, keys, images))
  assert (np.abs(one - noisy.apply_noisy(variables, keys[::-1], images)) > 1e-3).any()
  np.testing.assert_array_equal(noisy.apply(variables, images), plain.apply(variables, images))
  np.testing.assert_array_equal(
    plain.apply_noisy(variables, keys, images), plain.apply(variables, images)
  )
  other = noisy.apply_train(variables, jax.random.key(1), images)[0]
  again = plain.apply_train(variables, jax.random.key(1), images)[0]
  assert (np.abs(other - again) > 1e-3).any()


@pytest.mark.parametrize("name", ["resnet32_cifar10", "convnet_digits"])
@jax.numpy_dtype_promotion("standard")  # Flax's own BatchNorm needs it
def test_bfloat16_computes_in_it_and_keeps_parameters(name):
  classifier = models.build(name, dtype=jnp.bfloat16)
  variables = jax.eval_shape(classifier.init, jax.random.key(0))
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
  images = jax.ShapeDtypeStruct((2, *classifier.image_shape), jnp.float32)
  program = jax.make_jaxpr(classifier.apply)(variables, images)
  assert program.out_avals[0].dtype == jnp.float32
  text = str(program)
  assert "bf16[2,8,8,32]" in text if name == "convnet_digits" else "bf16[2,32,32,16]" in text


def test_bad_networks_are_refused():
  with pytest.raises(ValueError, match="noise_location must be one of every, first, second"):
    models.build("convnet_digits", noise_location="third")
  with pytest.raises(ValueError, match="noise_stddev must be 0 or more and finite, not -1"):
    models.build("convnet_digits", noise_location="first", noise_stddev=-1)
  with pytest.raises(ValueError, match="resnet50 has neither another dtype nor noise"):
    models.build("resnet50", dtype=jnp.bfloat16)
