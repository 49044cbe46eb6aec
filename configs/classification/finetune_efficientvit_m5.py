_base_ = 'finetune_efficientvit_m4.py'

model = dict(backbone=dict(arch='m5'))
