"""The page of `musicgen ui`, for one user on this machine.

`page` alone needs Gradio; what a request of the form is (`form`), how it runs (`work`) and what is shown of it
(`views`) are plain Python. The command line imports `page.serve`.
"""
