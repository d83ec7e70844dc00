"""From a model to its graph: the recorder, what it does where fake tensors fail, and running operations again."""
