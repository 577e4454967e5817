"""What a trained model is asked to do, and the numbers that come out."""
