"""Pictures for training: in batches on the training device, cropped and augmented."""
