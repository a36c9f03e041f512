"""The page of `musicgen ui` in a real browser: Gradio and Selenium in an environment of their own."""
