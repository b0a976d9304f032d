"""What can be asked: a file each, behind one protocol (`base`); `catalog` has them all."""
