# Four images in one, side by side, of which a random part of the size of one remains. Detectors,
# instance and semantic segmentors.
augment_mosaic = dict(prob=0.5, center_ratio_range=(1.0, 1.0))
