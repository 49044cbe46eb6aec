"""The report on a run: one page of HTML after a training or an evaluation."""
