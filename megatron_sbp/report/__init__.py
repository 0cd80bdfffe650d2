"""report/index.html: one page that opens offline, and the same figures as text."""
