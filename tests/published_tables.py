"""What every table of a README with numbers stands on; `test_numbers` recomputes them.

A row is a folder of records and values that its records have; a column is a number of those
records and values beside the row's. None is a cell that no ledger has, such as a label.
"""

from published_columns import accuracy
from published_columns import accuracy_interval
from published_columns import beside_table_2
from published_columns import CLAIMED
from published_columns import CLEAN
from published_columns import clean_and_claimed
from published_columns import clean_and_distance
from published_columns import Column
from published_columns import cost_of_noise
from published_columns import DEFENDED
from published_columns import distance
from published_columns import ERRORS
from published_columns import in_table_1
from published_columns import left
from published_columns import number
from published_columns import of
from published_columns import published
from published_columns import queries_of_all
from published_columns import queries_to_success
from published_columns import Shown
from published_columns import steps
from published_columns import trained
from published_columns import under_attack
from published_columns import within
from published_columns import worst

_XENT, _CW = {"loss": "xent"}, {"loss": "cw"}
_UNDEFENDED = of("figure2_mnist/untargeted", strength=0.0)
_PUBLISHED_ZOO = of("figure2_mnist/untargeted", strength=1e-4)
_VARIANCES = (0.0, 1e-4, 1e-2, 5.76e-2)
_INFORMED_CW = [of("informed_mnist/carlini_wagner", strength=x) for x in _VARIANCES[1:]]
_OF_RESNET = of("table2/resnet32_or", steps=10, restarts=1, float64=False, substitute=None)
_TABLE_2 = [
  *("resnet32_none", "resnet32_pgd", "resnet32_or", "resnet32_pgd_or"),
  *("convnet_cifar10_none", "convnet_cifar10_or0.1", "convnet_mnist_none", "convnet_mnist_or"),
  *("convnet_digits_none", "convnet_digits_pgd", "convnet_digits_or", "convnet_digits_pgd_or"),
]
_ZEROS = published("xent", number("zero_gradients"))
_PLACES = ("every", "first", "second")
_AVERAGING = ("averaged_untargeted", "averaged_targeted")
_AVERAGED = [Column(CLEAN, {"num_samples": k}) for k in (1, 10, 50, 100)]


_HEADLINE = [
  of(f"headline_mnist/{name}", strength=x)
  for name, count in (("zoo", 4), ("informed_zoo", 2), ("informed_nes", 4))
  for x in _VARIANCES[:count]
]


_BESIDE_PAPERS = {
  panel: (
    f"square/published sign_hunter/published ql/{ql} bandits/published square_l2/published "
    "zoo/published labels/partial_information labels/label_only"
  ).split()
  for panel, ql in (("panel_mnist", "plain"), ("panel_cifar10", "published"))
}


def _beside(attack, *columns):
  return [Column(show, {"folder": f"table1_imagenet/{attack}"}) for show in columns]


# By the file (below experiments/results, or README.md) and the number of the table in it.
SHOWN = {
  ("README.md", 0): Shown(
    [
      *map(of, ("headline_mnist/zoo", "headline_mnist/informed_nes")),
      *map(of, ("decision_mnist/hop_skip_jump", "decision_mnist/pop_skip_jump")),
    ],
    [None, *(Column(clean_and_distance, {"strength": x}) for x in _VARIANCES)],
  ),
  ("README.md", 1): Shown(
    [{"strength": x} for x in _VARIANCES],
    [
      None,
      *(x for attack in ("zoo", "ql", "bandits") for x in _beside(attack, CLEAN, in_table_1)),
      *_beside("ql", number("noise_error_rate"), accuracy),
    ],
  ),
  ("README.md", 2): Shown(
    [of(f"table2/{_TABLE_2[i]}") for i in (0, 2, 7, 9, 11)],
    [
      *(None, None, Column(accuracy), published("xent", left), _ZEROS, published("cw", left)),
      Column(worst),
    ],
  ),
  ("decision_mnist", 0): Shown(
    [
      of(f"decision_mnist/{attack}", strength=x)
      for attack in ("hop_skip_jump", "pop_skip_jump", "label_only", "partial_information")
      for x in _VARIANCES
    ],
    [None, None, *map(Column, (CLAIMED, CLEAN, DEFENDED, distance, accuracy))],
  ),
  ("figure10_cifar10", 0): Shown(
    [
      row
      for wide in ("", "wide_")
      for row in (
        *(of(f"figure10_cifar10/{wide}output_noise", strength=x) for x in _VARIANCES),
        *(of(f"figure10_cifar10/{wide}rse_{x:g}") for x in _VARIANCES[1:]),
      )
    ],
    [None, None, *map(Column, (CLAIMED, CLEAN, DEFENDED, ERRORS, distance, accuracy))],
  ),
  ("figure13_mnist", 0): Shown(
    [of(f"figure13_mnist/stddev_{x}") for x in ("none", 10, 100, 1000)],
    [
      None,
      Column(accuracy),
      Column(under_attack, _XENT),
      Column(number("zero_gradients"), _XENT),
      Column(under_attack, _CW),
    ],
  ),
  ("figure14_mnist", 0): Shown(
    [of("figure14_mnist/undefended"), of("figure14_mnist/or0.1")], [None, *_AVERAGED]
  ),
  ("figure15_cifar10", 0): Shown(
    [
      of(f"figure15_cifar10/{x}", num_samples=k)
      for x in ("undefended", "or0.1")
      for k in (1, 10, 50, 100)
    ],
    [
      *(None, None, Column(number("claimed")), Column(CLEAN)),
      *map(Column, map(number, ("defended_success_rate", "noise_error_rate", "l2"))),
    ],
  ),
  ("figure17_mnist", 0): Shown(
    [
      of("figure17_mnist", substitute=f"convnet_mnist{x}-substitute")
      for x in ("", "-or10", "-or100", "-or1000")
    ],
    [
      None,
      Column(under_attack, _XENT),
      Column(number("zero_gradients"), _XENT),
      *(Column(under_attack, {"loss": x}) for x in ("cw", "cw_unbounded", "xent_by_margin")),
    ],
  ),
  ("figure2_mnist", 0): Shown(
    [of(f"figure2_mnist/{x}", strength=1e-4) for x in ("untargeted_100", "targeted_50")],
    [None, None, Column(lambda found: f"{CLEAN(found)}, {len(found.trials)} images")],
  ),
  ("figure3_mnist", 0): Shown(
    [{"num_samples": k} for k in (1, 10, 50, 100)],
    [None, *(Column(clean_and_claimed, of(f"figure3_mnist/{x}_50")) for x in ("adam", "newton"))],
  ),
  ("figure4_cifar10", 0): Shown(
    [of("figure4_cifar10/short", loss=x) for x in ("xent", "cw", "cw_unbounded")],
    [None, Column(under_attack), Column(number("zero_gradients"))],
  ),
  ("figure5_mnist", 0): Shown(
    [of("figure5_mnist/untargeted_100", strength=x) for x in _VARIANCES],
    [
      *(None, Column(CLAIMED), Column(CLEAN)),
      *map(Column, map(number, ("defended_success_rate", "l2"))),
    ],
  ),
  ("figure6_mnist", 0): Shown(
    [of("figure6_mnist/untargeted", strength=x) for x in _VARIANCES[1:]], [None, *_AVERAGED]
  ),
  ("figure7_mnist", 0): Shown(
    [of("figure7_mnist/spacings_50", spacing=h) for h in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)],
    [None, *(Column(clean_and_distance, {"strength": x}) for x in (0.0, 0.01))],
  ),
  ("headline_mnist", 0): Shown(
    _HEADLINE, [None, None, *map(Column, (steps, CLAIMED, CLEAN, DEFENDED, distance, accuracy))]
  ),
  ("headline_mnist", 1): Shown(
    [_HEADLINE[i] for i in (5, 7, 8, 9)], [None, None, Column(cost_of_noise)]
  ),
  ("headline_mnist", 2): Shown(
    [_HEADLINE[0], *_HEADLINE[4:]], [None, None, *map(within, (1.0, 1.5, 2.0, 2.5, 3.0))]
  ),
  ("headline_mnist", 3): Shown(
    [
      [of(f"headline_mnist/{x}", strength=y)]
      for y in (1e-6, *_VARIANCES[1:])
      for x in ("zoo", "zoo_zero")
    ],
    [None, None, *map(Column, (CLAIMED, CLEAN)), Column(number("median_steps"))],
  ),
  ("informed_mnist", 0): Shown(
    [
      *(_UNDEFENDED, _PUBLISHED_ZOO),
      *(of(f"informed_mnist/{x}") for x in ("patient_zoo", "zoo", "nes")),
      *_INFORMED_CW,
    ],
    [None, None, Column(steps), Column(CLEAN), Column(distance)],
  ),
  ("informed_mnist", 1): Shown(
    [
      *(_UNDEFENDED, _PUBLISHED_ZOO),
      *(of("informed_mnist/zoo"), of("informed_mnist/nes"), *_INFORMED_CW),
    ],
    [None, None, *map(within, (1.0, 1.5, 2.0, 2.5, 3.0))],
  ),
  ("informed_mnist", 2): Shown(
    [
      of(f"informed_mnist/ablation/{x}")
      for x in ("none", "start", "smoothing", "objective", "clipped_nes", "clipped_zoo")
    ],
    [None, Column(CLEAN), Column(distance)],
  ),
  ("presets_small", 0): Shown(
    [of(f"presets_small/{a}_{d}") for a in ("ql", "bandits") for d in ("mnist", "cifar10")],
    [None, None, Column(CLEAN), Column(number("median_queries"))],
  ),
  ("table1_imagenet", 0): Shown(
    [
      of(f"table1_imagenet/{attack}", strength=x)
      for attack in ("zoo", "ql", "bandits")
      for x in _VARIANCES
    ],
    [
      *(None, None, Column(in_table_1), Column(lambda found: str(len(found.trials)))),
      *map(Column, (CLAIMED, CLEAN, DEFENDED, ERRORS, accuracy_interval, distance)),
      *map(Column, (queries_to_success, number("median_queries"))),
    ],
  ),
  ("table2", 0): Shown(
    [of(f"table2/{x}") for x in _TABLE_2],
    [
      *(None, None, Column(trained), beside_table_2(accuracy, 0)),
      *(beside_table_2(published("xent", left).show, 1), _ZEROS),
      *(beside_table_2(published("cw", left).show, 2), Column(worst)),
    ],
  ),
  ("table2", 1): Shown(
    [
      {**_OF_RESNET, **_XENT},
      {**_OF_RESNET, **_XENT, "restarts": 10},
      [{**_OF_RESNET, **_XENT, "steps": x} for x in (40, 200)],
      {**_OF_RESNET, **_XENT, "float64": True},
      *({**_OF_RESNET, "loss": x} for x in ("xent_by_stddev", "xent_by_margin", "dlr")),
      {**_OF_RESNET, **_CW, "substitute": "resnet32_cifar10"},
    ],
    [None, Column(under_attack)],
  ),
  ("table2", 2): Shown(
    [of(f"table2/resnet32_short_{x}") for x in ("none", "pgd", "or", "pgd_or")],
    [
      *(None, Column(trained), beside_table_2(accuracy, 0)),
      beside_table_2(left, 1)._replace(wanted=_XENT),
      Column(number("zero_gradients"), _XENT),
      beside_table_2(left, 2)._replace(wanted=_CW),
      Column(under_attack, _CW),
    ],
  ),
  ("table3_cifar10", 0): Shown(
    [
      of("figure10_cifar10/output_noise", strength=0.0),
      of("table3_cifar10/plain_targeted", strength=0.0),
      *(of(f"table3_cifar10/distilled_{x}") for x in ("untargeted", "targeted")),
      of("figure10_cifar10/output_noise", strength=1e-4),
      of("table3_cifar10/plain_targeted", strength=1e-4),
      of("figure10_cifar10/wide_output_noise", strength=1e-4),
      *(of(f"table3_cifar10/{x}") for x in ("wide_targeted", *_AVERAGING)),
    ],
    [
      *(None, Column(lambda found: str(len(found.trials)))),
      *map(Column, (CLAIMED, CLEAN, distance, accuracy)),
      None,
    ],
  ),
  ("table3_imagenet", 0): Shown(
    [
      of(f"table3_imagenet/{x}")
      for x in ("undefended", "xie", "output_noise", "wide_xie", "wide_output_noise")
    ],
    [
      *(None, Column(CLAIMED), Column(CLEAN)),
      *map(Column, map(number, ("defended_success_rate", "noise_error_rate"))),
      *(Column(distance), Column(accuracy), None),
    ],
  ),
  ("table3_mnist", 0): Shown(
    [
      of(f"table3_mnist/{x}")
      for x in (
        *("distilled_untargeted", "distilled_targeted", "wide_untargeted", "wide_targeted"),
        *_AVERAGING,
      )
    ],
    [None, *map(Column, (CLAIMED, CLEAN, distance, accuracy)), None],
  ),
  **{
    (panel, 3): Shown(
      [of(f"{panel}/{each}", strength=0.0) for each in beside],
      [None, Column(CLEAN), Column(queries_of_all), None, None, None],
    )
    for panel, beside in _BESIDE_PAPERS.items()
  },
  ("table4_mnist", 0): Shown(
    [of(f"table4_mnist/{x}_0.5{full}") for x in _PLACES for full in ("", "_full")],
    [
      *(None, None, Column(accuracy_interval)),
      *(Column(under_attack, loss) for loss in (_XENT, _CW)),
    ],
  ),
}
# Tables without a ledger, and why.
NOT_RECORDED = {
  ("README.md", 3): "what the mains do, in words",
  **{("README.md", n): "speed, measured once" for n in (4, 5)},
  **{(x, n): "a panel's, which test_numbers makes anew" for x in _BESIDE_PAPERS for n in range(3)},
}
