"""Help for people who label pictures: which labels of a data set are likely wrong."""
