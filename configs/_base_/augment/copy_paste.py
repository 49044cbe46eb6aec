# Objects of another image on top of an image. Models with masks.
augment_copy_paste = dict(max_num_pasted=20)
