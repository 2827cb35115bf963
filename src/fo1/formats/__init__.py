"""Files as other tools write them: rows read one by one, bad ones told with their place."""
