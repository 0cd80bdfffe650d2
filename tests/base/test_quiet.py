"""Libraries are silent while they load, and say again what they have to say when it is over."""

from __future__ import annotations

import logging
import warnings

import pytest
import transformers

from megatron_sbp.base.quiet import quiet_libraries

NAMES = ("sentence_transformers", "transformers", "huggingface_hub")


def bars() -> bool:
    return transformers.utils.logging.is_progress_bar_enabled()


def levels() -> list[int]:
    return [logging.getLogger(name).level for name in NAMES]


def test_warnings_and_bars_are_off_and_errors_are_not(recwarn):
    with quiet_libraries():
        warnings.warn("something is new", UserWarning, stacklevel=1)
        assert not bars()
        for name in NAMES:
            logger = logging.getLogger(name)
            assert not logger.isEnabledFor(logging.WARNING) and logger.isEnabledFor(logging.ERROR)
    assert not list(recwarn)
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", UserWarning, stacklevel=1)


@pytest.mark.parametrize("enabled", [True, False])
def test_all_is_as_it_was_even_after_an_error(enabled):
    before, shown = levels(), bars()
    switch = {
        True: transformers.utils.logging.enable_progress_bar,
        False: transformers.utils.logging.disable_progress_bar,
    }
    try:
        switch[enabled]()
        logging.getLogger("huggingface_hub").setLevel(logging.INFO)
        during = levels()
        with pytest.raises(KeyError), quiet_libraries():
            raise KeyError
        assert levels() == during and bars() == enabled
    finally:
        switch[shown]()
        for name, level in zip(NAMES, before, strict=True):
            logging.getLogger(name).setLevel(level)
