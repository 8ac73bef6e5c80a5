"""The bytes of .onnx files: read, cleaned, simplified, checked, written. Nothing is run and no module is known here."""
