"""The dashboard: what needs attention, and one saga whole, in Streamlit."""
