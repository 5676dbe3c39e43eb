"""The dashboard: what needs someone, and one saga whole, in Streamlit."""
