"""What each screen shows, prepared without Streamlit."""
