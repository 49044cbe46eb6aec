_base_ = 'upernet_trtvit_b.py'

model = dict(backbone=dict(arch='a'), decode_head=dict(in_channels=[256, 512, 1024, 1024]))
