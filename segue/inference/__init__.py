"""Using a trained model: on images in memory, and on folders."""
