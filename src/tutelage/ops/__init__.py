"""Pure functions on tensors, each with its source: masked · logprobs · returns · shaping · losses."""
