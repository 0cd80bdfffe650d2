"""What every part uses: errors, atomic files, progress, processes, locks."""
