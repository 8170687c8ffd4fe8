"""What makes the same numbers sooner: each lever can be switched off and is tested against that."""
