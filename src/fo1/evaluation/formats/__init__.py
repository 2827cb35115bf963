"""Files of data sets as they are published, read row by row; what is broken is told."""
