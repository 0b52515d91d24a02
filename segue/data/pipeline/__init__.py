"""From records to batches: views of images, and the workers that draw them."""
