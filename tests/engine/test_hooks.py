import signal
from pathlib import Path

import pytest
import torch

from mmtrtvit.engine.outputs import AtomicBackend
from mmtrtvit.engine.runner import build_runner, evaluate, train
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import is_readable, read_weights


def assert_same(run, other):
    first, second = (read_weights(Path(path, 'epoch_3.pth')) for path in (run, other))
    assert first['state_dict'].keys() == second['state_dict'].keys()
    for key, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][key]), key
    states = (file['optimizer']['state'] for file in (first, second))
    for one, two in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_killed_run_goes_on_bit_for_bit(toy, train_in_child, workers):
    assert train_in_child(toy('killed', workers, kill_at=6)) == -signal.SIGKILL
    assert [file.name for file in Path('killed').glob('*.pth')] == ['epoch_1.pth']
    train(toy('killed', workers), resume='auto')

    train(toy('whole', workers))
    train(toy('again', workers), resume='whole/epoch_1.pth')

    assert_same('killed', 'whole')
    assert_same('again', 'whole')


def test_averaged_weights_go_on_bit_for_bit(toy):
    def averaged(work_dir):
        config = toy(work_dir)
        config.default_hooks.ema = dict(type='EMAHook', momentum=0.1)
        return config

    whole = train(averaged('whole')).checkpoint
    train(averaged('again'), resume='whole/epoch_1.pth')
    assert_same('again', 'whole')
    train(toy('plain'))
    averages, plain = (
        read_weights(file)['state_dict'] for file in (whole, Path('plain/epoch_3.pth'))
    )
    assert not torch.equal(averages['conv.weight'], plain['conv.weight'])


def test_a_training_that_gets_no_better_ends_early(toy):
    config = toy(loop=dict(by_epoch=True, max_epochs=9))
    config.default_hooks.stop = dict(
        type='EarlyStoppingHook', monitor='accuracy', min_delta=2, patience=1
    )
    assert train(config).checkpoint.name == 'epoch_2.pth'


def test_a_run_without_a_seed_resumes_with_its_own(toy):
    def unseeded(work_dir):
        config = toy(work_dir)
        config.pop('randomness')
        return config

    train(unseeded('whole'))
    train(unseeded('again'), resume='whole/epoch_1.pth')
    assert_same('again', 'whole')


def test_resume_in_a_config_means_the_same(toy):
    first = train(toy(loop=dict(by_epoch=True, max_epochs=1))).checkpoint
    log = train(toy(resume=True)).log.read_text()
    assert 'resumed epoch: 1, iter: 4' in log
    first.write_bytes(b'')
    with pytest.raises(UserError, match=r'epoch_1\.pth is empty'):
        train(toy(resume=True, load_from=str(first)))


def test_without_a_checkpoint_a_training_starts_from_its_own_weights(toy):
    train(toy('other', loop=dict(by_epoch=True, max_epochs=1)))
    log = train(toy(load_from='other/epoch_1.pth'), resume='auto').log.read_text()
    assert 'has no checkpoint: this training starts anew' in log
    assert 'Load checkpoint from other/epoch_1.pth' in log


def test_weights_that_would_be_replaced_at_once_are_not_even_there(toy, trained):
    model = dict(init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth'))
    with pytest.raises(UserError, match=r'nowhere\.pth'):
        train(toy('first', model=model))
    train(toy('second', model=model, load_from=str(trained)))
    run = train(toy('second', model=model), resume='auto').work_dir
    assert "'nowhere.pth'" in next(run.glob('*.py')).read_text()


@pytest.mark.parametrize('workers', [0, 2])
def test_each_epoch_and_each_worker_has_its_own_random_numbers(toy, workers):
    config = toy(workers=workers)
    config.train_dataloader.sampler.shuffle = False
    runner = build_runner(config)
    runner.train()
    assert len(runner.model.inputs) == len(set(runner.model.inputs)) == 12


def test_persistent_workers_are_warned_of(toy):
    config = toy(workers=1, loop=dict(by_epoch=True, max_epochs=1))
    config.train_dataloader.persistent_workers = True
    log = train(config).log.read_text()
    assert 'persistent_workers=True keeps random numbers of past epochs' in log


def checkpoints():
    return sorted(file.name for file in Path('run').glob('*.pth'))


def test_the_old_checkpoint_goes_after_the_new_one_is_whole(toy, monkeypatch):
    before = []
    put = AtomicBackend.put

    def spy(self, data, path):
        before.append(checkpoints())
        put(self, data, path)

    monkeypatch.setattr(AtomicBackend, 'put', spy)
    train(
        toy(
            default_hooks=dict(
                checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1)
            )
        )
    )
    assert before == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert checkpoints() == ['epoch_3.pth']


def test_the_best_checkpoint_goes_after_the_new_one_is_whole(toy, monkeypatch):
    scores = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(
        'mmengine.evaluator.Evaluator.evaluate', lambda self, size: dict(accuracy=next(scores))
    )
    kept = []
    put = AtomicBackend.put

    def spy(self, data, path):
        kept.append('best_accuracy_epoch_1.pth' in checkpoints())
        put(self, data, path)

    monkeypatch.setattr(AtomicBackend, 'put', spy)
    train(
        toy(
            default_hooks=dict(
                checkpoint=dict(
                    type='SafeCheckpointHook', interval=1, max_keep_ckpts=1, save_best='accuracy'
                )
            )
        )
    )
    assert kept == [False, False, True, True, True, True, False]
    assert checkpoints() == ['best_accuracy_epoch_2.pth', 'epoch_3.pth']


def test_a_run_killed_while_it_saves_keeps_a_whole_checkpoint(toy, train_in_child):
    hooks = dict(checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1))
    config = toy(default_hooks=hooks)
    config.custom_hooks.append(dict(type='ToyKillWhileSaving', name='epoch_2.pth'))
    assert train_in_child(config) == -signal.SIGKILL
    assert len([*Path('run').glob('epoch_2.*.part')]) == 1
    assert checkpoints() == ['epoch_1.pth'] and is_readable(Path('run/epoch_1.pth'))
    train(toy(default_hooks=hooks), resume='auto')
    assert checkpoints() == ['epoch_3.pth'] and not [*Path('run').glob('*.part')]


@pytest.fixture
def trained(toy):
    train(toy('trained', loop=dict(by_epoch=True, max_epochs=1)))
    return Path('trained/epoch_1.pth')


def test_evaluation_takes_every_weight(toy, trained):
    assert set(evaluate(toy(), trained)) == {'accuracy'}
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        evaluate(toy(model=dict(channels=5)), trained)
    runner = build_runner(toy(model=dict(num_classes=3), load_from=str(trained)))
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        runner.test()


def test_resuming_takes_every_weight(toy, trained):
    runner = build_runner(toy(model=dict(num_classes=3), resume=True, load_from=str(trained)))
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        runner.train()


def test_a_training_may_start_from_other_classes_alone(toy, trained):
    nothing = dict(by_epoch=True, max_epochs=0)
    runner = build_runner(toy(model=dict(num_classes=3), load_from=str(trained), loop=nothing))
    runner.train()
    weights = read_weights(trained)['state_dict']
    assert torch.equal(runner.model.conv.weight, weights['conv.weight'])
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'is for other classes; these layers start untrained' in log
    assert 'head.weight (3, 4), not (2, 4)' in log

    runner = build_runner(toy(model=dict(channels=5), load_from=str(trained), loop=nothing))
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        runner.train()


def test_foreign_configs_are_checked_too(toy, trained):
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        evaluate(toy(model=dict(channels=5), custom_hooks=[]), trained)


def test_trainings_of_one_process_write_their_own_curves(toy):
    visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')], name='same')
    loop = dict(by_epoch=True, max_epochs=1)
    runs = [train(toy(name, loop=loop, visualizer=dict(visualizer))) for name in ('one', 'two')]
    assert [run.curves.relative_to(run.work_dir).name for run in runs] == ['scalars.json'] * 2
