"""Pages and tables for people: HTML, Markdown, plots. They show records and compute nothing that is judged."""
