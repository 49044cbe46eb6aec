# Images with rare classes come more often in an epoch: a class that is in a share f of the images
# below the threshold t comes sqrt(t / f) times as often. Detectors and classifiers.
augment_class_balanced = dict(oversample_thr=0.3)
