"""What runs tell: the events, the ports that keep them, and stores of our own."""
