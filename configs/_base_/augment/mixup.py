# The mean of two images, with the objects of both. Detectors without masks.
augment_mixup = dict(prob=0.5, ratio_range=(0.8, 1.2))
