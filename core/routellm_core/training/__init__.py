"""One trainer per trainable router: preference data or outcomes in, a router and a `TrainingReport` out."""
