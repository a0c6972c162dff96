"""Storage of routers: a folder of `config.json` and `model.safetensors`, locally or on the Hugging Face Hub."""

from routellm_core.checkpoints.format import FORMAT_VERSION, Checkpoint, CheckpointConfig, EmbedderSpec

__all__ = ["FORMAT_VERSION", "Checkpoint", "CheckpointConfig", "EmbedderSpec"]
