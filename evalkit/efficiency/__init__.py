"""What a pipeline costs: latency, throughput, index, energy, money; and what a budget buys."""
