"""The dashboard: what needs attention, and each saga in full, in Streamlit."""
