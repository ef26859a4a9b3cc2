"""The ImageNet networks, layer by layer, against NumPy on the same torchvision tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from orjax import models
from orjax import oracles
from orjax.models import resnet
from orjax.models import torchvision

# torchvision's counts, of https://pytorch.org/vision/stable/models.html.
PARAMETERS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}


def _state_dict(blocks, bottleneck, seed=0):
  """Random tensors with torchvision's names and shapes, as its constructor makes them."""
  rng = np.random.default_rng(seed)
  tensors = {}

  def conv(name, features, channels, size):
    scale = np.sqrt(2 / (channels * size**2))
    tensors[f"{name}.weight"] = (scale * rng.normal(size=(features, channels, size, size))).astype(
      np.float32
    )

  def norm(name, features):
    for kind, low, high in (
      ("weight", 0.5, 1.5),
      ("bias", -0.2, 0.2),
      ("running_mean", -0.2, 0.2),
      ("running_var", 0.5, 1.5),
    ):
      tensors[f"{name}.{kind}"] = rng.uniform(low, high, features).astype(np.float32)
    tensors[f"{name}.num_batches_tracked"] = np.array(7)

  conv("conv1", 64, 3, 7)
  norm("bn1", 64)
  channels = 64
  for group, num_blocks in enumerate(blocks, 1):
    inner = 64 * 2 ** (group - 1)
    out = inner * (4 if bottleneck else 1)
    for i in range(num_blocks):
      at = f"layer{group}.{i}"
      plan = (
        [(inner, channels, 1), (inner, inner, 3), (out, inner, 1)]
        if bottleneck
        else [(out, channels, 3), (out, out, 3)]
      )
      for number, shape in enumerate(plan, 1):
        conv(f"{at}.conv{number}", *shape)
        norm(f"{at}.bn{number}", shape[0])
      if i == 0 and (channels != out or group > 1):
        conv(f"{at}.downsample.0", out, channels, 1)
        norm(f"{at}.downsample.1", out)
      channels = out
  tensors["fc.weight"] = rng.normal(size=(1000, channels)).astype(np.float32) / 30
  tensors["fc.bias"] = rng.normal(size=1000).astype(np.float32)
  return tensors


def _windows(x, size, stride, padding, fill=0.0):
  """[N, C, h, w, size, size]: what every output sees of x [N, C, H, W]."""
  x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
  views = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
  return views[:, :, ::stride, ::stride]


def _numpy_forward(tensors, blocks, bottleneck, images):
  """The network in float64 and NCHW, as PyTorch defines its layers; all outputs by name."""
  seen = {}

  def conv(name, x, stride):
    kernel = tensors[f"{name}.weight"].astype(np.float64)
    views = _windows(x, kernel.shape[2], stride, kernel.shape[2] // 2)
    seen[name] = np.einsum("nchwij,ocij->nohw", views, kernel, optimize=True)
    return seen[name]

  def norm(name, x):
    part = lambda kind: tensors[f"{name}.{kind}"].astype(np.float64)[:, None, None]
    seen[name] = (x - part("running_mean")) / np.sqrt(part("running_var") + 1e-5) * part(
      "weight"
    ) + part("bias")
    return seen[name]

  mean, stddev = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
  x = ((images - mean) / stddev).transpose(0, 3, 1, 2)
  x = np.maximum(norm("bn1", conv("conv1", x, 2)), 0)
  x = _windows(x, 3, 2, 1, -np.inf).max((4, 5))
  for group, num_blocks in enumerate(blocks, 1):
    for i in range(num_blocks):
      at, stride = f"layer{group}.{i}", 2 if group > 1 and i == 0 else 1
      strides = [1, stride, 1] if bottleneck else [stride, 1]
      y = x
      for number, s in enumerate(strides, 1):
        y = norm(f"{at}.bn{number}", conv(f"{at}.conv{number}", y, s))
        y = np.maximum(y, 0) if number < len(strides) else y
      if f"{at}.downsample.0.weight" in tensors:
        x = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", x, stride))
      x = np.maximum(x + y, 0)
      seen[at] = x
  seen["fc"] = x.mean((2, 3)) @ tensors["fc.weight"].T.astype(np.float64) + tensors["fc.bias"]
  return seen


@pytest.mark.parametrize(
  "name, suffix", [("resnet18", "safetensors"), ("resnet34", "npz"), ("resnet50", "npz")]
)
def test_layer_by_layer_as_numpy(name, suffix, tmp_path):
  module = getattr(resnet, name)()
  tensors = _state_dict(module.blocks, module.bottleneck)
  path = tmp_path / f"weights.{suffix}"
  if suffix == "npz":
    np.savez(path, **tensors)
  else:
    save_file(tensors, path)
  classifier = models.build(name)
  variables = torchvision.load(str(path), jax.eval_shape(classifier.init, jax.random.key(0)))
  images = np.random.default_rng(1).uniform(size=(2, 48, 48, 3)).astype(np.float32)
  with oracles.full_precision():
    logits, state = jax.jit(lambda v, x: module.apply(v, x, capture_intermediates=True))(
      variables, jnp.asarray(images)
    )
  seen = _numpy_forward(tensors, module.blocks, module.bottleneck, images)
  flat = {
    ".".join(key.key for key in keys[:-2]): value
    for keys, value in jax.tree_util.tree_leaves_with_path(state["intermediates"])
  }
  compared = 0
  for at, wanted in seen.items():
    pieces = at.replace("downsample.", "downsample_").split(".")
    pieces[:2] = ["_".join(pieces[:2])] if pieces[0].startswith("layer") else pieces[:2]
    found = np.asarray(flat[".".join(pieces)])
    wanted = wanted if at == "fc" else wanted.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max(), err_msg=at)
    compared += 1
  assert compared == len(flat) - 1 and compared > 40  # all but the network's own output
  np.testing.assert_allclose(
    logits, classifier.apply(variables, images), atol=1e-4 * np.abs(logits).max()
  )


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
  shapes = jax.eval_shape(models.build(name).init, jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == PARAMETERS[name]


def test_weights_that_do_not_fit(tmp_path):
  expected = jax.eval_shape(models.build("resnet34").init, jax.random.key(0))
  module = resnet.resnet18()
  np.savez(tmp_path / "weights.npz", **_state_dict(module.blocks, False))
  with pytest.raises(ValueError, match="does not fit the network: batch_stats.layer1_2"):
    torchvision.load(str(tmp_path / "weights.npz"), expected)
  np.savez(tmp_path / "other.npz", **{"head.gamma": np.ones(3)})
  with pytest.raises(ValueError, match="head.gamma, which no ResNet has"):
    torchvision.load(str(tmp_path / "other.npz"), expected)
  with pytest.raises(FileNotFoundError, match="there is no file"):
    torchvision.load(str(tmp_path / "none.npz"), expected)
  (tmp_path / "torn.safetensors").write_bytes(b"\x10\x00\x00")
  with pytest.raises(ValueError, match="torn.safetensors is damaged .*: download it again"):
    torchvision.load(str(tmp_path / "torn.safetensors"), expected)
  (tmp_path / "weights.pt").write_bytes(b"")
  with pytest.raises(ValueError, match="neither .safetensors nor .npz"):
    torchvision.load(str(tmp_path / "weights.pt"), expected)
