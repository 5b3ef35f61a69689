"""Where meminstr meets frameworks: each file knows one of them, imports it on first use or not at all."""
