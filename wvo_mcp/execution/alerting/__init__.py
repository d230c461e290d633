"""Ways for news of alerts to reach people."""
