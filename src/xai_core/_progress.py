"""placeholder until the real one lands"""
import contextlib
@contextlib.contextmanager
def progress_bar(enabled, total, label):
    yield lambda rows: None
