"""Property tests must not depend on how busy the machine is."""

from hypothesis import settings

settings.register_profile("core", deadline=None, max_examples=50)
settings.load_profile("core")
