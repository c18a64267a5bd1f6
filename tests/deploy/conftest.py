from tests.lab.conftest import rack

__all__ = ["rack"]
