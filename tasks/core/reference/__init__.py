"""What the module itself answers: in float32, in float64, with weights off by one rounding."""
