"""Help for people who label pictures: labels of a model for many, and which labels of a data set are likely wrong."""
