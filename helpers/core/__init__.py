"""What several rooms of the course stand on."""
