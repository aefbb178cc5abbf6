"""A page that sends every change over its WebSocket."""

import streamlit as st

st.session_state.setdefault("clicks", 0)
if st.button("Count"):
    st.session_state.clicks += 1
st.write(f"clicked {st.session_state.clicks} times")
st.write(f"the slider says {st.slider('Level', 0, 100, 40)}")
