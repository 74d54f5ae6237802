"""Training of the product's own networks on real lungs with planted lesions."""
