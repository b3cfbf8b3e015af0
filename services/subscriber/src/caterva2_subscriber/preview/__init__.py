"""Files as people look at them: text, Markdown and notebooks as pages that can run nothing, pictures made smaller."""
