"""The numbers that the paper prints."""

# Table 1: success rates by attack and noise variance; 100 ImageNet images.
TABLE_1 = {
  "zoo": {0: 0.69, 1e-4: 0.03, 1e-2: 0.00, 5.76e-2: 0.00},
  "ql": {0: 1.00, 1e-4: 0.73, 1e-2: 0.02, 5.76e-2: 0.01},
  "bandits": {0: 0.92, 1e-4: 0.58, 1e-2: 0.07, 5.76e-2: 0.06},
}
# Table 2: clean accuracy and accuracy under PGD(Xent) and PGD(CW), CIFAR10, by network and
# what it was trained with.
TABLE_2 = {
  ("wide_resnet32_10", "none"): (0.9532, 0.0, 0.0),
  ("wide_resnet32_10", "pgd"): (0.8630, 0.4795, 0.4861),
  ("wide_resnet32_10", "or"): (0.9438, 0.8807, 0.0),
  ("wide_resnet32_10", "pgd+or"): (0.8892, 0.8203, 0.4209),
  ("resnet32", "none"): (0.9277, 0.0, 0.0),
  ("resnet32", "pgd"): (0.7787, 0.4537, 0.4427),
  ("resnet32", "or"): (0.9151, 0.8499, 0.0),
  ("resnet32", "pgd+or"): (0.8198, 0.6263, 0.3962),
}
# Table 4: the same by where the noise is and its stddev. The printed fractions of a percent
# look like fractions with a percent sign; they are given here as printed.
TABLE_4 = {
  ("every", 5): ("86.92%", "0.0%", "0.0%"),
  ("every", 10): ("66.36%", "0.09%", "0.14%"),
  ("every", 15): ("59.27%", "0.13%", "0.20%"),
  ("first", 10): ("89.5%", "0.0%", "0.0%"),
  ("first", 20): ("83.27%", "0.0%", "0.0%"),
  ("first", 50): ("73.4%", "0.0%", "0.0%"),
  ("first", 100): ("69.42%", "0.0%", "0.02%"),
  ("first", 500): ("55.32%", "0.16%", "0.14%"),
  ("first", 1000): ("50.44%", "0.17%", "0.20%"),
  ("second", 10): ("91.08%", "0.0%", "0.0%"),
  ("second", 20): ("87.14%", "0.0%", "0.0%"),
  ("second", 50): ("75.59%", "0.02%", "0.02%"),
  ("second", 100): ("66.65%", "0.05%", "0.03%"),
  ("second", 500): ("35.96%", "0.16%", "0.15%"),
  ("second", 1000): ("9.71%", "9.61%", "10.23%"),
}
