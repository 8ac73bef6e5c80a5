"""Where downloads may lead, and Hugging Face's hub."""
