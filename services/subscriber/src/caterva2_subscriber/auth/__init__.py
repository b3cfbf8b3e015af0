"""Who is asking: principals, and the ways to prove to be one."""
